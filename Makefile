# The few commands of the house. What they do is in tools/.

BIN = .venv/bin

.PHONY: demo tour test bench soak faults agent lock clean

demo: # a six-host cluster on this machine, and the cockpit on it
	@tools/venv.sh
	@$(BIN)/cockpit demo

tour: # the same cluster, and the cockpit played on it at a person's pace; OUT=docs/tour.svg records it instead
	@tools/venv.sh
	@tools/debian.sh tmux
	@tools/tour.sh "$(OUT)"

test: # every check
	@tools/venv.sh dev
	@tools/debian.sh redis-server tmux openssl git ps=procps sshd=openssh-server ssh=openssh-client \
	    supervisord=supervisor cc=gcc
	@[ -f /usr/include/zlib.h ] || tools/debian.sh zlib.h=zlib1g-dev
	@[ "$$(id -u)" != 0 ] || tools/debian.sh ip=iproute2 iptables faketime debootstrap \
	    systemd-nspawn=systemd-container
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@# with bytecode, whatever the environment says: thousands of programs of ours are started
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

bench: # the table of budgets, peers beside ours
	@tools/venv.sh dev
	@tools/debian.sh supervisord=supervisor aria2c=aria2 rsync ip=iproute2 || echo "going on without some peers"
	@$(BIN)/python -m tests.bench

soak: # an hour of live load: memory flat, pictures quick; COCKPIT_SOAK=SECONDS for less
	@tools/venv.sh dev
	@$(BIN)/python -m tests.soak

agent: # dist/cockpit-agent for hosts without Python, dist/cockpit-agent.pyz for those with 3.9 or newer
	@tools/venv.sh dev
	@tools/agent/build.sh
	@tools/debian.sh busybox=busybox-static
	@$(BIN)/pytest tests/bundle

faults: # faults on a real cluster in namespaces, a new seed each time; as root
	@tools/venv.sh dev
	@tools/debian.sh ip=iproute2 iptables faketime cc=gcc
	@$(BIN)/python -m tests.faults --rounds 20 --each 3

lock: # write down the versions that are installed now; installs follow them
	@tools/venv.sh dev
	@{ sed '/^[^#]/,$$d' requirements.lock; \
	   $(BIN)/python -m pip freeze --disable-pip-version-check --exclude-editable; } >requirements.new
	@mv requirements.new requirements.lock

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	    .import_linter_cache snapshot_report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
