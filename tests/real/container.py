"""A container by runc, as Docker starts one: its own processes and mounts, a root file system that is read only, a user
without rights. The network is this machine's, so that the test's servers on loopback are reached."""

import json
import os
import subprocess
import uuid

from process import Process


class Container:
    def __init__(self, image, root, folder, arguments, env=None, volumes=None, cover=None):
        """`env` comes on top of the image's. `volumes`: {path in it: a folder}; the image's other volumes are fresh and
        in memory. `cover`: {path in it: a file that lies over it}."""
        self.image, self.folder, self.id = image, folder, f"t-{uuid.uuid4().hex[:12]}"
        folder.mkdir()
        self.runc = ["runc", "--root", folder / "state"]
        subprocess.run(["runc", "spec", "--bundle", folder], check=True, timeout=30)
        config = json.loads((folder / "config.json").read_text())
        self.process_config = config["process"]
        uid, gid = map(int, image.user.split(":"))
        self.process_config |= {
            "terminal": False, "user": {"uid": uid, "gid": gid}, "cwd": image.workdir, "noNewPrivileges": True,
            "args": [*image.entrypoint, *map(str, arguments)],
            "env": [f"{k}={v}" for k, v in {**image.env, **(env or {})}.items()],
            "capabilities": {},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],  # less than any runtime gives
        }
        config["root"] = {"path": str(root), "readonly": True}
        config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "network"]
        config["mounts"] += [self.volume(root, path, (volumes or {}).get(path)) for path in image.volumes]
        config["mounts"] += [self.bind(path, file, "ro") for path, file in {
            "/etc/hosts": "/etc/hosts", "/etc/resolv.conf": "/etc/resolv.conf", **(cover or {})}.items()]
        (folder / "config.json").write_text(json.dumps(config))
        self.process = Process("container", [*self.runc, "run", "--bundle", folder, self.id], os.environ,
                               folder / "process")

    @staticmethod
    def bind(path, source, *options):
        return {"destination": path, "type": "bind", "source": str(source), "options": ["bind", *options]}

    def volume(self, root, path, source):
        """A volume keeps the owner and the mode that the folder has in the image."""
        found = os.stat(root / path.strip("/"))
        if source:
            os.chown(source, found.st_uid, found.st_gid)
            return self.bind(path, source, "rw")
        return {"destination": path, "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "nodev", f"uid={found.st_uid}", f"gid={found.st_gid}", f"mode={found.st_mode & 0o7777:o}"]}

    def execute(self, *command, seconds=30):
        """Another process in it, as `docker exec` or a health check: (exit code, what it said)."""
        again = self.folder / f"exec-{uuid.uuid4().hex[:8]}.json"
        again.write_text(json.dumps({**self.process_config, "args": list(map(str, command))}))
        done = subprocess.run([*self.runc, "exec", "--process", again, self.id], timeout=seconds, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    def state(self):
        """What runc knows of it; none: it is not there yet, or not any more."""
        done = subprocess.run([*self.runc, "state", self.id], timeout=30, capture_output=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def running(self):
        state = self.state()
        return bool(state) and state["status"] == "running"

    def pid(self):
        """Its first process, as this machine knows it."""
        return self.state()["pid"]

    def remove(self):
        """Ends what is left of it, and nothing else."""
        subprocess.run([*self.runc, "delete", "--force", self.id], timeout=30, capture_output=True)
