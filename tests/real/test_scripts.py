"""The scripts: no errors that shellcheck knows; a broker that comes and goes; a deployment, with programs in the place of
docker, aws and terraform that only say what they were asked."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from image import ROOT
from process import free_port, listens

REPOSITORY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/tidemill"
DIGEST = "sha256:" + "5a" * 32


def run(*command, env=None, seconds=120):
    done = subprocess.run([str(part) for part in command], timeout=seconds, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, env=env)
    print(f"$ {' '.join(map(str, command[:1]))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def test_shell_scripts_are_clean(tmp_path):
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files"], check=True, capture_output=True, text=True).stdout.split()
    files = [ROOT / file for file in tracked if (ROOT / file).is_file()]
    scripts = [f for f in files if re.match(rb"#!\S*(?:/env )?\s*(?:ba|da)?sh\b", f.open("rb").read(64))]
    assert {"run", "real.sh", "deploy.sh", "rootfs.sh"} <= {script.name for script in scripts}
    shellcheck = Path(sys.executable).with_name("shellcheck")
    assert run(shellcheck, "--norc", *scripts).returncode == 0
    spoilt = tmp_path / "spoilt.sh"
    spoilt.write_text("#!/bin/sh\nrm $1\n")
    found = run(shellcheck, "--norc", spoilt)
    assert found.returncode == 1 and "SC2086" in found.stdout
    assert all(os.access(script, os.X_OK) for script in scripts), "a script cannot be run"
    print(f"shellcheck: nothing in {len(scripts)} scripts, {sum(len(s.read_text().splitlines()) for s in scripts)} lines")


@pytest.fixture
def setup(tmp_path):
    """scripts/setup_kafka.sh with a folder of its own; what it started ends with the test."""
    def call(*arguments):
        return run(ROOT / "scripts/setup_kafka.sh", "--dir", tmp_path / "kafka", *arguments)
    call.dir = tmp_path / "kafka"
    yield call
    if (call.dir / "pid").exists():
        os.kill(int((call.dir / "pid").read_text()), signal.SIGKILL)


def test_a_broker_comes_and_goes(setup):
    port = free_port()
    began = time.monotonic()
    first = setup("--port", port)
    assert first.returncode == 0, first.stderr
    seconds = time.monotonic() - began
    assert f"--brokers 127.0.0.1:{port}" in first.stdout and "--stop" in first.stdout
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 2})
    partitions = lambda topic: len(admin.list_topics(topic, timeout=10).topics[topic].partitions)
    assert partitions("user-events") == 3
    pid = int((setup.dir / "pid").read_text())

    again = setup("--topic", "other", "--partitions", 5)
    assert again.returncode == 0 and f"running already (pid {pid})" in again.stdout
    assert f"127.0.0.1:{port}" in again.stdout, "it says where it found it"
    assert partitions("other") == 5 and int((setup.dir / "pid").read_text()) == pid

    # Somebody else's broker is not taken for ours, and is left alone.
    elsewhere = run(ROOT / "scripts/setup_kafka.sh", "--dir", setup.dir / "other", "--port", port)
    assert elsewhere.returncode == 1 and f"port {port} is taken" in elsewhere.stderr
    stranger = run(ROOT / "scripts/setup_kafka.sh", "--dir", setup.dir / "other", "--stop")
    assert stranger.returncode == 0 and "no broker" in stranger.stdout and listens(port)

    assert setup("--stop").returncode == 0
    state = Path(f"/proc/{pid}/stat")
    assert not listens(port) and (not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z")
    twice = setup("--stop")
    assert twice.returncode == 0 and "no broker" in twice.stdout
    print(f"ready in {seconds:.1f} s, with 3 partitions; gone after --stop")


def test_a_pid_that_went_to_another_process_is_left_alone(setup, tmp_path):
    other = subprocess.Popen(["sleep", "60"])
    try:
        setup.dir.mkdir()
        (setup.dir / "pid").write_text(f"{other.pid}\n")
        done = setup("--stop")
        assert done.returncode == 0 and "no broker" in done.stdout
        assert other.poll() is None, "it ended a process that it had not started"
    finally:
        (setup.dir / "pid").unlink(missing_ok=True)
        other.kill()
        other.wait()


FAKE = """#!/bin/sh
# Says what it was asked, and answers as FAKE_... tells it.
printf '%s' "${0##*/}" >>"$FAKE_LOG"
for word in "$@"; do printf '\\037%s' "$word" >>"$FAKE_LOG"; done
echo >>"$FAKE_LOG"
case "${0##*/} $*" in
  "$FAKE_FAILS"*) echo "made to fail" >&2; exit 7 ;;
  "aws sts "*) echo "${FAKE_ACCOUNT:-123456789012}" ;;
  "aws ecr get-login-password"*) echo made-up ;;
  "docker login"*) cat >"$FAKE_LOG.password" ;;
  "docker image inspect"*) printf 'elsewhere/tidemill@sha256:00\\n%s\\n' "$FAKE_DIGEST" ;;
  "terraform "*"output -raw cluster_name") printf mill ;;
  "terraform "*"output -raw service_name") printf host ;;
  "aws ecs describe-services"*)
    # One state a call, the last one for ever.
    head -1 "$FAKE_STATES"
    [ "$(wc -l <"$FAKE_STATES")" = 1 ] || sed -i 1d "$FAKE_STATES" ;;
esac
"""


class Deploy:
    """scripts/deploy.sh among programs that are not what they seem."""

    def __init__(self, folder):
        self.log, self.states, programs = folder / "log", folder / "states", folder / "bin"
        self.terraform = folder / "terraform"
        self.terraform.mkdir()
        programs.mkdir()
        for name in ("docker", "aws", "terraform"):
            (programs / name).write_text(FAKE)
            (programs / name).chmod(0o755)
        self.env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder), "FAKE_LOG": str(self.log),
                    "FAKE_FAILS": "nothing", "FAKE_STATES": str(self.states), "FAKE_DIGEST": f"{REPOSITORY}@{DIGEST}",
                    "TIDEMILL_DEPLOY_POLL": "0.05", "TMPDIR": str(folder)}

    def __call__(self, *arguments, states=("COMPLETED\t2\t2\tdone",), **env):
        self.log.write_text("")
        self.states.write_text("".join(f"{state}\n" for state in states))
        return run(ROOT / "scripts/deploy.sh", "--repository", REPOSITORY, "--terraform", self.terraform, "--tag", "t1",
                   *arguments, env={**self.env, **env})

    def asked(self):
        """What the programs were asked: a list of words each."""
        return [line.split("\x1f") for line in self.log.read_text().splitlines()]

    def steps(self):
        """The same in short: program and command."""
        return [" ".join([words[0], *[w for w in words[1:] if not w.startswith("-")][:1]]) for words in self.asked()]


STEPS = ["aws sts", "aws ecr", "docker login", "docker build", "docker push", "docker image", "terraform init",
         "terraform plan", "terraform apply", "terraform output", "terraform output", "aws ecs"]


@pytest.fixture
def deploy(tmp_path):
    return Deploy(tmp_path)


def plain(words):
    """A command without what is not known before it runs."""
    text = "\x1f".join(words).replace(DIGEST, "sha256:<digest>")
    text = text.replace("--cluster\x1fmill", "--cluster\x1f<cluster>").replace("--services\x1fhost", "--services\x1f<service>")
    return re.sub(r"/[^\x1f=]*/tmp\.\w+", "<plan>", text).split("\x1f")


def test_a_dry_run_prints_what_a_run_does(deploy):
    dry = deploy("--dry-run")
    assert dry.returncode == 0 and deploy.asked() == [], "it ran something"
    printed = [plain(shlex.split(line[2:])) for line in dry.stdout.splitlines() if line.startswith("+ ")]
    real = deploy("--yes", states=["IN_PROGRESS\t1\t2\tongoing"] * 3 + ["COMPLETED\t2\t2\tdone"])
    assert real.returncode == 0 and f"deployed {REPOSITORY}@{DIGEST}" in real.stdout
    done = [plain(words) for words in deploy.asked()]
    assert deploy.steps()[:len(STEPS)] == STEPS
    assert done[:len(printed)] == printed, "another order, or other words"
    assert done[len(printed):] == [printed[-1]] * 3, "and then it looked until the service was there"
    assert Path(f"{deploy.log}.password").read_text().strip() == "made-up", "the password goes through stdin"
    assert "made-up" not in real.stdout + real.stderr + deploy.log.read_text()
    assert not list(deploy.terraform.parent.glob("tmp.*")), "a plan was left behind; it holds secrets"
    print(f"{len(printed)} commands, the same ones and in the same order")


@pytest.mark.parametrize("step, remedy", [
    ("aws sts", "aws sso login"),
    ("aws ecr", "ecr:GetAuthorizationToken"),
    ("docker login", "Docker daemon running"),
    ("docker build", "Docker daemon running"),
    ("docker push", "aws ecr create-repository"),
    ("docker image", "without --skip-build"),
    ("terraform -chdir={} init", "backend"),
    ("terraform -chdir={} plan", "--var-file"),
    ("terraform -chdir={} apply", "fix the cause and run this again"),
    ("terraform -chdir={} output", "output"),
    ("aws ecs", "the plan was applied"),
])
def test_a_step_that_fails_ends_it(deploy, step, remedy):
    step = step.format(deploy.terraform)
    done = deploy("--yes", FAKE_FAILS=step)
    assert done.returncode == 1 and remedy in done.stderr, done.stderr
    assert f"error: `{' '.join(word for word in step.split()[:3] if word[0] != '-')}` failed" in done.stderr, done.stderr
    assert " ".join(deploy.asked()[-1]).startswith(step), "it went on"


def test_a_deployment_that_fails_or_hangs_is_told(deploy):
    failed = deploy("--yes", states=["IN_PROGRESS\t0\t2\tongoing", "FAILED\t0\t2\ttasks failed to start"])
    assert failed.returncode == 1 and "tasks failed to start" in failed.stderr and "events" in failed.stderr
    unknown = deploy("--yes", states=["None"])
    assert unknown.returncode == 1 and "no deployment of service host in cluster mill" in unknown.stderr


def test_nothing_is_applied_unasked(deploy):
    """Without a terminal there is nobody to ask."""
    done = deploy()
    assert done.returncode == 1 and "--yes" in done.stderr and "terraform apply" not in deploy.steps()
    assert deploy.steps()[-1] == "terraform plan"


def test_another_account_is_refused(deploy):
    done = deploy("--yes", FAKE_ACCOUNT="999999999999")
    assert done.returncode == 1 and "999999999999" in done.stderr and deploy.steps() == ["aws sts"]


def test_any_registry_and_an_image_that_is_there(deploy):
    """No login where it is not ECR, no build where it was pushed before; values of variables come along."""
    other = "registry.example:5000/mill"
    done = deploy("--yes", "--repository", other, "--region", "eu-west-3", "--skip-build", "--var-file", "/x/a b.tfvars",
                  FAKE_DIGEST=f"{other}@{DIGEST}")
    assert done.returncode == 0 and deploy.steps()[:4] == ["docker pull", "docker image", "terraform init", "terraform plan"]
    plan = deploy.asked()[3]
    assert f"-var=image={other}@{DIGEST}" in plan and "-var-file=/x/a b.tfvars" in plan


@pytest.mark.parametrize("arguments, said", [
    (["--repositry", "x"], "unknown argument --repositry"),
    (["--tag"], "--tag needs a value"),
    (["--repository", "a/b:latest"], "without tag"),
    (["--timeout", "soon"], "expected minutes"),
    (["--repository", "example/mill"], "--region"),
])
def test_wrong_usage_is_told(deploy, arguments, said):
    done = deploy(*arguments)
    assert done.returncode == 2 and said in done.stderr and deploy.asked() == []


def test_help_names_each_flag():
    for script in ("deploy.sh", "setup_kafka.sh"):
        text = (ROOT / "scripts" / script).read_text()
        flags = set(re.findall(r"(?<![\w-])--[a-z-]+(?=[ )|])", re.search(r"while \[ \$# -gt 0.*?\ndone", text, re.S)[0]))
        said = run(ROOT / "scripts" / script, "--help")
        assert said.returncode == 0 and len(flags) > 4
        assert not [flag for flag in flags if flag not in said.stdout], flags
