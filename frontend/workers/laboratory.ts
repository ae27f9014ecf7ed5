/** Las redes del laboratorio, en otro hilo: la página no se para mientras calculan. */

import * as ort from "onnxruntime-web/wasm";
import { generate, type Inputs } from "../laboratory/path";
import type { Edit, Network, Settings } from "../laboratory/request";
import { reasonOf } from "../problems";

/** Lo que la página pide. */
export type Order =
  | {
      kind: "generate";
      id: number;
      network: Network;
      address: string;
      settings: Settings;
      edit: Edit;
    }
  | { kind: "pause" | "resume" | "step" | "stop" };

/** Lo que el hilo contesta. */
export type News = { id: number } & (
  | { kind: "loading"; loaded: number; total: number }
  | { kind: "note"; text: string }
  | { kind: "step"; done: number; t: number; xT: Float32Array; xStart: Float32Array }
  | { kind: "finished"; seconds: number }
  | { kind: "problem"; text: string }
);

interface Scope {
  onmessage: (event: MessageEvent<Order>) => void;
  postMessage: (news: News) => void;
}

const scope = globalThis as unknown as Scope;
const CACHE = "ddpm_lit";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("./ort.wasm", import.meta.url).href };

// --- Las redes ------------------------------------------------------------------------------------

const sessions = new Map<string, ort.InferenceSession>();

/** Los bytes de una red: de la caché del navegador o, si no están, del servidor. */
async function weights(network: Network, address: string, id: number): Promise<ArrayBuffer> {
  const key = `${address}?${network.sha256}`;
  const store = await caches?.open(CACHE).catch(() => undefined);
  const kept = await store?.match(key).catch(() => undefined);
  if (kept) {
    const bytes = await kept.arrayBuffer();
    if (await intact(bytes, network)) return bytes;
  }
  const answer = await fetch(address);
  if (!answer.ok || !answer.body) {
    throw new Error(`los pesos no han llegado: el servidor ha contestado ${answer.status}`);
  }
  const bytes = new Uint8Array(network.bytes);
  let loaded = 0;
  const reader = answer.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (loaded + part.value.length > bytes.length)
      throw new Error("los pesos no son los de esta red; recargad la página");
    bytes.set(part.value, loaded);
    loaded += part.value.length;
    scope.postMessage({ kind: "loading", id, loaded, total: network.bytes });
  }
  if (loaded !== bytes.length || !(await intact(bytes.buffer, network))) {
    throw new Error("los pesos han llegado incompletos o cambiados; recargad la página");
  }
  await store?.put(key, new Response(bytes)).catch(() => {
    const text = "El navegador no deja guardar los pesos: habrá que volver a traerlos.";
    scope.postMessage({ kind: "note", id, text });
  });
  return bytes.buffer;
}

/** Si unos bytes son los de la red; sin conexión segura no se puede saber. */
async function intact(bytes: ArrayBuffer, { bytes: size, sha256 }: Network): Promise<boolean> {
  if (bytes.byteLength !== size) return false;
  if (!globalThis.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

async function session(
  network: Network,
  address: string,
  id: number,
): Promise<ort.InferenceSession> {
  const known = sessions.get(network.name);
  if (known) return known;
  const bytes = await weights(network, address, id);
  const made = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  sessions.set(network.name, made);
  return made;
}

/** Evalúa una red. */
async function evaluate(runner: ort.InferenceSession, inputs: Inputs): Promise<Float32Array> {
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, { values, shape }]) => [
      name,
      values instanceof Float32Array
        ? new ort.Tensor("float32", values, shape)
        : new ort.Tensor("int64", values, shape),
    ]),
  );
  const { output } = await runner.run(feeds);
  return output!.data as Float32Array;
}

// --- Las órdenes ----------------------------------------------------------------------------------

/** La generación en curso: su número, si está parada y a quién avisar cuando siga. */
const current = { id: 0, paused: false, allowed: 0, wake: () => {} };

async function turn(id: number): Promise<boolean> {
  // Deja pasar los mensajes que hayan llegado mientras se calculaba.
  await new Promise((resolve) => setTimeout(resolve, 0));
  while (current.id === id && current.paused && current.allowed === 0) {
    await new Promise<void>((resolve) => {
      current.wake = resolve;
    });
  }
  if (current.allowed > 0) current.allowed -= 1;
  return current.id === id;
}

async function run(order: Order & { kind: "generate" }): Promise<void> {
  const { id, network, address, settings, edit } = order;
  try {
    const runner = await session(network, address, id);
    let [done, spent, started] = [0, 0, performance.now()];
    const answer = (inputs: Inputs) => evaluate(runner, inputs);
    for await (const step of generate(network, settings, edit, answer)) {
      if (current.id !== id) return;
      done += 1;
      spent += performance.now() - started;
      scope.postMessage({ kind: "step", id, done, t: step.t, xT: step.xT, xStart: step.xStart });
      if (!(await turn(id))) return;
      // Lo que se está parado no cuenta.
      started = performance.now();
    }
    scope.postMessage({ kind: "finished", id, seconds: spent / 1000 });
  } catch (error) {
    scope.postMessage({ kind: "problem", id, text: reasonOf(error) });
  }
}

scope.onmessage = ({ data: order }) => {
  if (order.kind === "generate") {
    Object.assign(current, { id: order.id, paused: false, allowed: 0 });
    void run(order);
  } else if (order.kind === "stop") {
    current.id = -1;
  } else if (order.kind === "step") {
    current.allowed = 1;
  } else {
    current.paused = order.kind === "pause";
  }
  current.wake();
};
