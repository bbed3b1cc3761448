"""Terraform over a copy of this repository's modules, with the provider's folder linked and not copied: it is 700 MB."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from process import Process

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "terraform"


def binary():
    found = shutil.which("terraform")
    assert found, "terraform is not on PATH: install Terraform 1.11 or later (these tests skip nothing)"
    return found


def mirror():
    """Flags for `init`: where providers lie on this machine, or none, and they are downloaded."""
    folder = os.environ.get("TIDEMILL_TEST_TERRAFORM_MIRROR")
    script = ROOT.parent / "shared" / "tools" / "terraform-mirror"
    if not folder and script.exists():
        folder = subprocess.run(["sh", script], stdout=subprocess.PIPE, text=True, timeout=60).stdout.strip()
    return [f"-plugin-dir={folder}"] if folder else []


class Terraform:
    """The modules, copied into `folder` so that nothing is left in the checkout. Its environment is ours, less what
    would change the answer."""

    def __init__(self, folder, **env):
        self.folder, self.runs = folder / "terraform", 0
        shutil.copytree(SOURCE, self.folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        cache = Path(os.environ.get("TIDEMILL_TEST_CACHE", Path.home() / ".cache" / "tidemill-tests")) / "terraform"
        self.flags = mirror()
        if not self.flags:
            cache.mkdir(parents=True, exist_ok=True)
            env = {"TF_PLUGIN_CACHE_DIR": cache, **env}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "AWS_", "TIDEMILL_"))}
        self.env = {**kept, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", **env}

    def start(self, command, *arguments, at="."):
        """Starts `terraform COMMAND` in that folder of the modules."""
        self.runs += 1
        folder = self.folder / at
        process = Process(f"terraform-{command}-{self.runs}", [binary(), f"-chdir={folder}", command, *arguments],
                          self.env, self.folder.parent / f"{self.runs}-{command}")
        return process

    def __call__(self, command, *arguments, at=".", seconds=120, codes=(0,)):
        process = self.start(command, *arguments, at=at)
        code = process.wait(seconds)
        assert code in codes, f"terraform {command} in {at} ended with {code}:\n{process.stdout[-3000:]}\n{process.stderr[-3000:]}"
        return process

    def init(self, at="."):
        return self("init", "-backend=false", "-input=false", "-no-color", *self.flags, at=at)

    def outputs(self, at="."):
        return {name: output["value"] for name, output in json.loads(self("output", "-json", at=at).stdout).items()}
