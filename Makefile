# Las tres órdenes del proyecto: make site, make serve y make test. Cada una se basta sola.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.listo
export NO_MKDOCS_2_WARNING := 1
export DDPM_PROFILE ?= cpu

.PHONY: ready site serve test mutants ledger browser lint artefacts models replicas benchmarks clean

ready: $(READY) ## Instala lo que fija requirements.lock en un entorno propio

site: artefacts ## Entrena lo que falte, dibuja las figuras y construye el sitio en site/
	$(BIN)/mkdocs build --strict
	$(BIN)/python -m scripts.site.sentinels site

artefacts: $(READY) ## Entrena los modelos y dibuja las figuras, sin las páginas
	$(BIN)/python -m scripts.build

serve: $(READY) ## Sirve el sitio mientras se escribe; no entrena nada
	$(BIN)/mkdocs serve

test: export OMP_NUM_THREADS := 1
test: $(READY) ## Las matemáticas y el paquete; después, las páginas, en un sitio de perfil smoke
	$(BIN)/pytest -n 2 --dist loadfile --ignore tests/site
	DDPM_PROFILE=smoke $(BIN)/python -m scripts.build
	DDPM_PROFILE=smoke $(BIN)/mkdocs build --strict --site-dir build/smoke/site
	DDPM_PROFILE=smoke $(BIN)/python -m scripts.site.sentinels build/smoke/site
	DDPM_PROFILE=smoke DDPM_SITE_DIR=build/smoke/site $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests/site

mutants: $(READY) ## ¿Nota cada ecuación, con sus tests, los errores del código que la implementa?
	OMP_NUM_THREADS=1 $(BIN)/python -m scripts.mutants

ledger: $(READY) ## Las ecuaciones del libro, evaluadas desde el TeX de las páginas, y sus erratas
	OMP_NUM_THREADS=1 $(BIN)/python -m scripts.ledger --mutants

browser: $(READY) ## Los tests de navegador, sobre el sitio de site/
	DDPM_SITE_DIR=site $(BIN)/pytest -n 2 tests/site/test_site_browser.py

MODELS ?= digits-ink digits-learned digits-sr
models: $(READY) ## Entrena otra vez los modelos que vienen en el paquete; los grandes, con MODELS=NOMBRE
	$(BIN)/python -m scripts.build.ship --train $(MODELS)

replicas: $(READY) ## Ejecuta las réplicas que falten, con un hilo; continúan donde se cortaron
	OMP_NUM_THREADS=1 nice -n 10 $(BIN)/python -m scripts.replicas

benchmarks: $(READY) ## Mide lo que falte de la tabla de «Rendimiento», al lado de los rivales
	$(BIN)/python -m benchmarks

lint: $(READY) ## ruff, mypy, las paredes entre módulos, el TypeScript de los widgets y la ortografía
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.site.frontend
	$(BIN)/python -m scripts.site.spelling

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean: ## Borra lo construido; los modelos habrá que volver a entrenarlos
	rm -rf build dist site .cache
