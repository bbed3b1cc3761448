"""A file that is no transform stops the start: exit code 2, with the file, what was expected and what was found."""

import shutil

import pytest


def name_of(text):
    return bytes([len(text)]) + text.encode()


def section(number, content):
    return bytes([number, len(content)]) + content


MODULE = b"\0asm\x01\0\0\0"
COMPONENT = b"\0asm\x0d\0\x01\0"
# A component that exports an empty instance under the name of a contract from the future.
FUTURE = COMPONENT + section(5, b"\x01\x01\0") + section(11, b"\x01\0" + name_of("tidemill:transform/api@9.0.0") + b"\x05\0\0")

FILES = {
    "text": (b"this is no WebAssembly\n", "component"),
    "empty": (b"", "component"),
    "a core module": (MODULE, "component"),
    "a component that exports nothing": (COMPONENT, "tidemill:transform/api@0.1"),
    "another version of the contract": (FUTURE, "9.0.0"),
    "a component cut short": (None, "component"),
}


@pytest.mark.parametrize("what", FILES)
def test_no_transform_is_exit_code_2(tidemill, kafka, disk, name, transforms, tmp_path, what):
    content, said = FILES[what]
    if content is None:
        content = (transforms / "clean.wasm").read_bytes()[:20_000]
    folder = tmp_path / "transforms"
    folder.mkdir()
    shutil.copy(transforms / "clean.wasm", folder)
    (folder / "broken.wasm").write_bytes(content)
    kafka.create(name)
    host = tidemill("run", "--brokers", kafka.brokers, "--topic", name, "--group", name, *disk.arguments(),
                    "--transforms", folder, "--catalog", "local")
    assert host.wait(20) == 2
    print(host.stderr)
    for word in ("broken.wasm", "expected", "found", said):
        assert word in host.stderr


def test_a_missing_directory_is_said(tidemill, kafka, disk, name, tmp_path):
    host = tidemill("run", "--brokers", kafka.brokers, "--topic", name, "--group", name, *disk.arguments(),
                    "--transforms", tmp_path / "missing", "--catalog", "local")
    assert host.wait(20) == 2
    assert "missing" in host.stderr and "transforms" in host.stderr
