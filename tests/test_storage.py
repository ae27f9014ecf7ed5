"""Los datos guardados en 8 bits, en la memoria o en un fichero, y los lotes que salen de ellos."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from ddpm_lit.data import Dataset, load_dataset, official_split, split
from ddpm_lit.data import storage as storage_module
from ddpm_lit.data.conditions import conditioned
from ddpm_lit.data.loading import flipped, load_batches
from ddpm_lit.data.storage import Store, to_float
from ddpm_lit.machine.ahead import ahead
from ddpm_lit.noise import batch_indices, flip_draws
from ddpm_lit.recipes.data import split_data
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.runs import steps as steps_module
from ddpm_lit.runs import train as train_module
from ddpm_lit.runs.train import train
from resident import measured, needs_proc

CPU = torch.device("cpu")


def pixels(count: int, shape: tuple[int, ...] = (3, 4, 6)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)


def on_disk(values: torch.Tensor, path: Path) -> Store:
    path.write_bytes(values.numpy().tobytes())
    return Store.from_file(path, tuple(values.shape), digest="0" * 64)


# --- De 8 bits a [-1, 1] ------------------------------------------------------------------


def test_every_level_is_the_division_in_float32():
    levels = np.arange(256, dtype=np.uint8)
    expected = np.divide(levels, np.float32(127.5), dtype=np.float32) - np.float32(1)
    got = to_float(torch.from_numpy(levels))
    assert got.dtype == torch.float32
    assert np.array_equal(got.numpy(), expected)
    assert (got[0], got[255]) == (-1, 1)
    already = torch.rand(3, 2)
    assert to_float(already) is already


def test_multiplying_by_the_inverse_would_not_be_the_same():
    """Por eso se divide por un tensor: en CUDA, entre un número sería esto."""
    levels = torch.arange(256, dtype=torch.float32)
    assert not torch.equal(levels * (1 / torch.tensor(127.5)) - 1, to_float(levels.byte()))


# --- Lo guardado ------------------------------------------------------------------------


def test_a_file_gives_the_same_as_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_module, "_PART", 200)  # dos o tres filas por trozo
    values = pixels(11)
    stored, mapped = Store(values), on_disk(values, tmp_path / "p.bin")
    for one, other in ((stored, mapped), (stored.subset(torch.tensor([7, 0, 7])),) * 2):
        assert one.shape == other.shape
        assert torch.equal(torch.cat([*one.parts()]), torch.cat([*other.parts()]))
    rows = torch.tensor([10, 2, 5, 3])
    for store in (stored, mapped):
        assert torch.equal(store.take(rows), values[rows])
        assert torch.equal(store.subset(rows).take(torch.tensor([3, 0])), values[[3, 10]])
        twice = store.subset(rows).subset(torch.tensor([2, 1]))
        assert torch.equal(twice.floats(), to_float(values[[5, 2]]))
        assert (len(twice), twice.nbytes) == (2, 2 * 3 * 4 * 6)


def test_what_is_taken_from_a_file_does_not_change_it(tmp_path):
    values = pixels(5)
    store = on_disk(values, tmp_path / "p.bin")
    store.take(torch.arange(5)).zero_()
    assert torch.equal(store.take(torch.arange(5)), values)
    assert (tmp_path / "p.bin").read_bytes() == values.numpy().tobytes()


def test_a_file_of_another_size_is_refused(tmp_path):
    (tmp_path / "p.bin").write_bytes(bytes(10))
    with pytest.raises(ValueError, match=r"mide 10 bytes y se esperaban 24"):
        Store.from_file(tmp_path / "p.bin", (2, 3, 2, 2))
    (tmp_path / "p.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        Store.from_file(tmp_path / "p.bin", (0, 3, 2, 2))


@needs_proc
def test_reading_a_file_does_not_keep_it_in_memory(tmp_path):
    """Recorrer 96 MB, en orden y al azar, no deja en el proceso ni la cuarta parte."""
    path = tmp_path / "p.bin"
    path.write_bytes(np.random.default_rng(0).bytes(8000 * 12288))
    script = (
        "import pathlib, torch\n"
        "from ddpm_lit.data import Dataset\n"
        "from ddpm_lit.data.loading import load_batches\n"
        "from ddpm_lit.data.storage import Store\n"
        "from ddpm_lit.noise import batch_indices\n"
        "data = Dataset(x=torch.zeros(64, 3, 64, 64, dtype=torch.uint8))\n"
        "list(load_batches(data, [range(64)] * 2, torch.device('cpu')))\n"
        "before = most = memory()\n"
        "data = Dataset(store=Store.from_file(pathlib.Path(sys.argv[1]), (8000, 3, 64, 64)))\n"
        "data.fingerprint()\n"
        "chosen = [batch_indices(8000, 16, 0, step) for step in range(500)]\n"
        "for batch in load_batches(data, chosen, torch.device('cpu')):\n"
        "    most = max(most, memory())\n"
        "print((most - before) / data.store.nbytes)\n"
    )
    assert measured(script, path) < 0.25


# --- Un conjunto de 8 bits --------------------------------------------------------------


def both(tmp_path: Path) -> tuple[Dataset, Dataset, Dataset]:
    """Los mismos datos en float32, en 8 bits y en un fichero."""
    values = pixels(20)
    rest = {
        "labels": torch.arange(20) % 3,
        "label_names": ("a", "b", "c"),
        "captions": tuple(f"dato {k}" for k in range(20)),
    }
    return (
        Dataset(x=to_float(values), levels=256, **rest),
        Dataset(x=values, **rest),
        Dataset(store=on_disk(values, tmp_path / "p.bin"), **rest),
    )


def test_the_storage_of_a_set_does_not_show(tmp_path):
    chosen = [3, 19, 0, 3]
    floats, *others = both(tmp_path)
    for data in others:
        assert data.levels == 256
        assert data.image_shape == (3, 4, 6)
        assert torch.equal(data.x, floats.x)
        assert data.x is data.x
        assert data.fingerprint() == floats.fingerprint()
        for name, value in data.batch(chosen, "cpu").items():
            assert torch.equal(value, floats.batch(chosen)[name])
        assert data.batch(chosen)["x"].dtype == torch.float32
        assert data.stored_batch(chosen)["x"].dtype == torch.uint8
        for part, same in zip(split(data, 0.3, 1), split(floats, 0.3, 1), strict=True):
            assert part.fingerprint() == same.fingerprint()
            assert torch.equal(part.x, same.x)
            assert part.captions == same.captions


def test_a_part_shares_what_is_stored_with_the_whole(tmp_path):
    for data in both(tmp_path):
        where = data.store.values.data_ptr()
        train_set, held_out = split(data, 0.3, 0)
        again = held_out.subset([1, 0])
        for part in (train_set, held_out, again):
            assert part.store.values.data_ptr() == where
        assert torch.equal(again.x, data.x[held_out.store.rows[[1, 0]]])


def test_eight_bits_need_no_range_check(monkeypatch):
    def must_not_look(self):
        raise AssertionError("se han recorrido los datos")

    monkeypatch.setattr(Store, "parts", must_not_look)
    data = Dataset(x=pixels(4))
    data.subset([1])
    with pytest.raises(AssertionError, match="recorrido"):
        Dataset(x=torch.zeros(3, 2))


def test_replacing_a_field_keeps_what_is_stored(tmp_path):
    data = both(tmp_path)[2]
    renamed = replace(data, label_names=("x", "y", "z"))
    assert renamed.store is data.store
    other = replace(data, x=torch.zeros(20, 2), levels=None)
    assert (other.store.values.dtype, other.image_shape) == (torch.float32, (2,))
    with pytest.raises(ValueError, match="La condición «c» tiene 3 filas y hay 20"):
        replace(data, conditions={"c": torch.zeros(3)})


def test_conditions_of_eight_bits_are_those_of_their_floats(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_module, "_PART", 300)
    floats, stored, mapped = both(tmp_path)
    wanted = {"image": "low_resolution", "factor": 2, "scalars": "ink"}
    expected = conditioned(floats, wanted).conditions
    for data in (stored, mapped):
        for name, value in conditioned(data, wanted).conditions.items():
            assert torch.allclose(value, expected[name], atol=1e-6)


def test_the_fingerprint_of_a_cache_is_computed_once(tmp_path, monkeypatch):
    memory = tmp_path / "fingerprints.json"
    data = replace(both(tmp_path)[2], memory=memory)
    marks = [data.fingerprint(), data.subset([1, 0]).fingerprint()]
    assert marks[0] == both(tmp_path)[0].fingerprint()
    assert marks[1] == both(tmp_path)[0].subset([1, 0]).fingerprint()

    def must_not_compute(*_):
        raise AssertionError("se ha calculado otra vez")

    monkeypatch.setattr(Dataset, "_fingerprint", must_not_compute)
    assert data.fingerprint() == marks[0]
    assert data.subset([1, 0]).fingerprint() == marks[1]
    for changed in (
        data.subset([0, 1]),
        replace(data, label_names=("x", "y", "z")),
        replace(data, store=replace(data.store, digest="1" * 64)),
    ):
        with pytest.raises(AssertionError, match="otra vez"):
            changed.fingerprint()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 3}', "[" * 100_000])
def test_a_damaged_memory_of_fingerprints_does_not_matter(tmp_path, content):
    memory = tmp_path / "fingerprints.json"
    memory.write_text(content, encoding="utf-8")
    data = replace(both(tmp_path)[2], memory=memory)
    assert data.fingerprint() == both(tmp_path)[0].fingerprint()
    blocked = replace(data, memory=memory / "no" / "es una carpeta")
    assert blocked.fingerprint() == data.fingerprint()


# --- El reparto de quien publica los datos ----------------------------------------------


def test_the_official_split_is_the_one_that_comes_with_the_data():
    reserved = torch.tensor([False, True, False, True, True])
    data = Dataset(x=pixels(5), captions=tuple("abcde"), reserved=reserved)
    train_set, held_out = official_split(data)
    assert (train_set.captions, held_out.captions) == (("a", "c"), ("b", "d", "e"))
    assert train_set.reserved is held_out.reserved is None
    recipe = tiny.digits()
    with pytest.raises(ValueError, match=r"ya traen su parte apartada, de 3: deja data\.held_out"):
        split_data(recipe, data)
    table = recipe.to_dict()
    table["data"]["held_out"] = 0.0
    parts = split_data(recipe_from_dict(table), data)
    assert [part.captions for part in parts] == [train_set.captions, held_out.captions]
    assert data.subset([3, 0]).reserved.tolist() == [True, False]


@pytest.mark.parametrize("reserved", [None, torch.zeros(5).bool(), torch.ones(5).bool()])
def test_without_an_official_split_there_is_nothing_to_split(reserved):
    with pytest.raises(ValueError, match="no traen su propia parte apartada"):
        official_split(Dataset(x=pixels(5), reserved=reserved))


def test_a_wrong_official_split_is_refused():
    with pytest.raises(TypeError, match=r"bool de forma \(5,\)"):
        Dataset(x=pixels(5), reserved=torch.zeros(5))


# --- Los lotes --------------------------------------------------------------------------


def test_the_batches_are_the_same_wherever_the_data_are(tmp_path):
    floats, *others = both(tmp_path)
    chosen = [batch_indices(20, 6, seed=3, step=step) for step in range(9)]
    expected = [floats.batch(rows) for rows in chosen]
    for data in (floats, *others, replace(others[1], conditions={"c": torch.arange(20.0)})):
        got = list(load_batches(data, chosen, CPU))
        assert len(got) == len(expected)
        for batch, reference in zip(got, expected, strict=True):
            for name, value in reference.items():
                assert torch.equal(batch[name], value)


def test_the_next_batches_are_prepared_while_this_one_is_used():
    done: list[int] = []

    def slow(item: int) -> int:
        done.append(item)
        return item * item

    results = ahead(slow, iter(range(10)), depth=2)
    assert next(results) == 0
    deadline = time.monotonic() + 10
    while len(done) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert done == [0, 1, 2]
    assert list(results) == [1, 4, 9, 16, 25, 36, 49, 64, 81]


def test_an_error_comes_out_in_its_turn_and_no_thread_is_left():
    before = threading.active_count()

    def fails(item: int) -> int:
        if item == 3:
            raise KeyError("el cuarto")
        return item

    results = ahead(fails, range(100), workers=3, depth=6)
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(KeyError, match="el cuarto"):
        next(results)
    unfinished = ahead(fails, [0, 1, 2])
    next(unfinished)
    unfinished.close()
    assert threading.active_count() == before


def test_training_on_eight_bits_is_training_on_their_floats(tmp_path):
    values = pixels(30, (1, 8, 8))
    labels, names = torch.arange(30) % 10, tuple("0123456789")
    floats = Dataset(x=to_float(values), labels=labels, label_names=names, levels=256)
    mapped = Dataset(store=on_disk(values, tmp_path / "p.bin"), labels=labels, label_names=names)
    results = [
        train(
            tiny.digits(steps=4), tmp_path / name, dataset=data, device="cpu", progress=False
        ).model.state_dict()
        for name, data in (("a", floats), ("b", mapped))
    ]
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


# --- Volteos ----------------------------------------------------------------------------


def test_a_flip_depends_only_on_the_seed_the_step_and_the_index():
    flips = torch.stack([flip_draws(5, step, range(64)) for step in range(200)])
    assert flips.dtype == torch.bool
    assert torch.equal(torch.cat([flip_draws(5, 7, range(40)), flip_draws(5, 7, range(40, 64))]),
                       flips[7])  # fmt: skip
    count = flips.numel()
    assert abs(int(flips.sum()) - count / 2) < 4 * (count / 4) ** 0.5
    # Ni dos pasos, ni dos ejemplos, ni dos semillas van a la par.
    for other in (flips.roll(1, 0), flips.roll(1, 1)):
        assert abs(int((flips == other).sum()) - count / 2) < 4 * (count / 4) ** 0.5
    assert not torch.equal(flip_draws(6, 7, range(64)), flips[7])


def test_only_the_chosen_images_are_mirrored_with_their_image_condition():
    x = to_float(pixels(3))
    batch = {"x": x, "image": x + 1, "scalars": torch.rand(3, 1), "class_labels": torch.arange(3)}
    made = flipped(batch, torch.tensor([True, False, True]))
    assert torch.equal(made["x"][0], torch.from_numpy(x[0].numpy()[:, :, ::-1].copy()))
    assert torch.equal(made["x"][1], x[1])
    assert torch.equal(made["image"], made["x"] + 1)
    assert made["scalars"] is batch["scalars"]
    assert made["class_labels"] is batch["class_labels"]
    with pytest.raises(ValueError, match=r"forma \(2,\) y solo se voltean imágenes.*data\.flip"):
        flipped({"x": torch.zeros(3, 2)}, torch.ones(3).bool())


def flipping(**training: int) -> train_module.Recipe:
    table = tiny.digits(**training).to_dict()
    table["data"]["flip"] = True
    return recipe_from_dict(table)


def test_the_recipe_flips_what_the_network_sees(monkeypatch, tmp_path):
    seen: list[torch.Tensor] = []
    original = steps_module.algorithm1

    def spy(model, diffusion, batches, *rest):
        def watched():
            for batch in batches:
                seen.append(batch["x"].clone())
                yield batch

        return original(model, diffusion, watched(), *rest)

    monkeypatch.setattr(steps_module, "algorithm1", spy)
    recipe, data = flipping(steps=3), load_dataset("digits")
    train(recipe, tmp_path, dataset=data, device="cpu", progress=False)
    for step, x in enumerate(seen):
        plain = data.x[batch_indices(len(data), 8, recipe.seed, step)]
        flips = flip_draws(recipe.seed, step, range(8))
        expected = torch.where(flips.view(-1, 1, 1, 1), plain.flip(-1), plain)
        assert torch.equal(x, expected)
    assert len(seen) == 3


def test_flips_do_not_change_when_a_run_is_resumed(tmp_path):
    whole = train(flipping(steps=6), tmp_path / "a", device="cpu", progress=False)
    stop = train_module.Every(checkpoint=3)

    def interrupt(done, *_):
        if done == 4:
            raise RuntimeError("se va la luz")

    with pytest.raises(RuntimeError, match="la luz"):
        train(
            flipping(steps=6), tmp_path / "b", device="cpu", progress=False, every=stop,
            consumers=(interrupt,),
        )  # fmt: skip
    resumed = train(flipping(steps=6), tmp_path / "b", device="cpu", progress=False)
    other = resumed.model.state_dict()
    assert all(torch.equal(v, other[name]) for name, v in whole.model.state_dict().items())
    plain = train(tiny.digits(steps=6), tmp_path / "c", device="cpu", progress=False)
    assert any(not torch.equal(v, other[n]) for n, v in plain.model.state_dict().items())
