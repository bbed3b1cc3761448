"""The image without Docker: reads the Dockerfile's last stage, and lays out what it copies."""

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"


@dataclass
class Copy:
    stage: str
    source: str
    target: str
    owner: str


@dataclass
class Image:
    """What a runtime is told of the image."""

    base: str
    copies: list = field(default_factory=list)
    labels: dict = field(default_factory=dict)
    env: dict = field(default_factory=dict)
    volumes: list = field(default_factory=list)
    user: str = "0:0"
    workdir: str = "/"
    stop_signal: str = None
    healthcheck: list = None
    entrypoint: list = None
    cmd: list = None


def instructions(text):
    """[(word, the rest)] of a Dockerfile; continued lines are one."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.strip().split(None, 1)) for line in joined.splitlines() if line.strip()]


def bases(text):
    """The images that the stages stand on, with the defaults of arguments filled in."""
    arguments, found = {}, []
    for word, rest in instructions(text):
        if word == "ARG":
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif word == "FROM":
            found.append(re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], rest.split()[0]))
    return found


def last_stage(text):
    """The last stage. An instruction that this does not know is an error: a test of half an image proves nothing."""
    image = None
    for word, rest in instructions(text):
        if word == "FROM":
            image = Image(rest.split()[0])
        elif word == "COPY":
            flags = dict(re.findall(r"--(\w+)=(\S+)", rest))
            source, target = re.sub(r"--\S+\s+", "", rest).split()
            image.copies.append(Copy(flags.pop("from", None), source, target, flags.pop("chown", "0:0")))
            assert not flags, f"COPY with {flags} is not known here"
        elif word in ("ENV", "LABEL"):
            pairs = dict(part.split("=", 1) for part in shlex.split(rest))
            (image.env if word == "ENV" else image.labels).update(pairs)
        elif word == "VOLUME":
            image.volumes += json.loads(rest)
        elif word == "USER":
            image.user = rest
        elif word == "WORKDIR":
            image.workdir = rest
        elif word == "STOPSIGNAL":
            image.stop_signal = rest
        elif word == "HEALTHCHECK":
            image.healthcheck = json.loads(rest.split(" CMD ", 1)[1])  # the exec form: there is no shell
        elif word in ("ENTRYPOINT", "CMD"):
            setattr(image, word.lower(), json.loads(rest))
        else:
            assert word in ("ARG", "EXPOSE") or image.base != "scratch", f"{word} is not known here"
    return image


def build(binary, transforms, folder):
    """What the first stage puts into /out, made by the same script, on this machine's Debian."""
    out = folder / "out"
    out.mkdir(parents=True)
    (out / "empty").mkdir()
    (out / "transforms").mkdir()
    for component in transforms.glob("*.wasm"):
        shutil.copy(component, out / "transforms")
    subprocess.run([ROOT / "ops/image/rootfs.sh", binary, out / "transforms", out / "root"], check=True, timeout=60)
    return out


def assemble(image, out, root):
    """Does the COPY lines of an image that stands on nothing."""
    assert image.base == "scratch", f"what is in {image.base} is not known here"
    root.mkdir()
    for copy in image.copies:
        assert copy.stage == "build" and copy.source.startswith("/out/"), f"{copy} is not known here"
        source, target = out / copy.source.removeprefix("/out/"), root / copy.target.strip("/")
        assert source.is_dir(), f"the Dockerfile copies {copy.source}, which is no folder"
        shutil.copytree(source, target, dirs_exist_ok=True)
        if copy.owner != "0:0":
            uid, gid = map(int, copy.owner.split(":"))
            for path in [target, *target.rglob("*")]:
                os.chown(path, uid, gid)
    return root
