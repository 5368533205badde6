"""Where a file comes from, signed into it: C2PA manifests for generated speech and pictures."""

import datetime
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omni import __version__
from omni.errors import InputError
from omni.files import atomic_path
from omni.tokenizers.audio.wavefile import write_wave

KINDS = {
    ".wav": "audio/wav", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".mp3": "audio/mpeg",
}  # fmt: skip
RATE = 16_000                                                           # hertz, of a sound that is signed as a trial
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@dataclass(frozen=True)
class Origin:
    """What a signed file says of itself.

    state: `Valid` (unchanged since it was signed) or `Trusted` (and by somebody on a trust list), else `Invalid`
    """

    state: str
    generator: str
    signer: str
    generated: bool
    problems: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return self.state in ("Valid", "Trusted")


def sign(source: Path, out: Path, folder: Path, model: str) -> None:
    """Write `source` to `out` with a manifest that a model of ours generated it.

    folder: of certificate.pem and key.pem, which are made there where they are missing: self-made, so a reader sees
    that nothing was changed, but trusts the name only as far as it trusts the certificate.
    `out` may be `source`. Raises InputError for a file that carries no manifest, and for keys that sign nothing.
    """
    c2pa = _library()
    kind = _kind(source)
    if KINDS.get(out.suffix.lower()) != kind:
        raise InputError(f"{out}: the signed copy of {source.name} must end in {source.suffix}, too")
    certificate, key = credentials(folder)
    manifest = {
        "claim_generator_info": [{"name": "omni", "version": __version__}],
        "title": source.name, "format": kind,
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [{
            "action": "c2pa.created", "softwareAgent": {"name": f"omni {model}"}, "digitalSourceType": GENERATED,
        }]}}],
    }  # fmt: skip
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=certificate, private_key=key, ta_url=None)
    try:
        with (
            c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder,
            atomic_path(out) as made,
        ):  # fmt: skip
            builder.sign_file(source, made, signer)
    except c2pa.C2paError as error:
        raise InputError(f"{source.name}: cannot be signed with the keys in {folder} ({error}); mend them, or name a"
                         f" folder without any, unless it is no whole {source.suffix}") from None  # fmt: skip


def verify(path: Path) -> Origin:
    """What a file says of its origin. Raises InputError where it says nothing."""
    c2pa, kind = _library(), _kind(path)
    try:
        with path.open("rb") as file, c2pa.Reader(kind, file) as reader:
            found: dict[str, Any] = json.loads(reader.json())
            state = str(reader.get_validation_state())
    except c2pa.C2paError as error:
        raise InputError(f"{path}: has no provenance that can be read ({error})") from None
    active = found["manifests"][found["active_manifest"]]
    actions = [
        action for assertion in active.get("assertions", []) if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
    ]  # fmt: skip
    agents = [action.get("softwareAgent") for action in actions]
    names = [agent["name"] if isinstance(agent, dict) else str(agent) for agent in agents if agent]
    problems = tuple(one["code"] for one in found.get("validation_status", []))
    return Origin(
        state, names[0] if names else "", (active.get("signature_info") or {}).get("issuer", ""),
        any(action.get("digitalSourceType") == GENERATED for action in actions), problems,
    )  # fmt: skip


def _kind(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix.lower() not in KINDS:
        raise InputError(f"{path}: {path.suffix or 'no ending'}; C2PA is written into {', '.join(KINDS)}")
    return KINDS[path.suffix.lower()]


def _library() -> Any:
    """Raises InputError where it is missing."""
    try:
        import c2pa
    except ImportError:
        raise InputError('c2pa-python is not installed; provenance needs it: pip install "omni[eval]"') from None
    return c2pa


def credentials(folder: Path) -> tuple[bytes, bytes]:
    """Certificate chain and private key, made where there are none. Raises InputError where nothing could sign.

    One of them without the other is somebody's own: neither is made then.
    """
    _library()
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if missing := [one for one in (certificate, key) if not one.exists()]:
        if len(missing) == 1:
            other = key if missing[0] == certificate else certificate
            raise InputError(f"{missing[0]}: missing, though {other.name} is there; put it beside that,"
                             " or name a folder without either")  # fmt: skip
        chain, private = _self_made()
        with atomic_path(certificate) as made:
            made.write_bytes(chain)
        with atomic_path(key) as made:
            made.write_bytes(private)
            made.chmod(0o600)
    try:
        return certificate.read_bytes(), key.read_bytes()
    except OSError as error:
        raise InputError(f"{folder}: its keys cannot be read ({error})") from None


def check(folder: Path) -> None:
    """Sign a second of silence for a trial. Raises InputError where the keys of a folder sign nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        silence = Path(scratch) / "answer.wav"
        write_wave(silence, np.zeros(RATE, np.float32), RATE)
        sign(silence, silence, folder, "none")


def _self_made() -> tuple[bytes, bytes]:
    """A leaf and its authority, since C2PA refuses a leaf that signed itself, and the leaf's key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "omni, self-made"),
                          x509.NameAttribute(NameOID.COMMON_NAME, common)])  # fmt: skip

    def usage(authority: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)

    def certificate(subject: str, public: Any, authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("omni authority"))
            .public_key(public).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(usage(authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        )  # fmt: skip
        if not authority:
            purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purposes, critical=True)
        return builder.sign(root, hashes.SHA256())

    chain = [
        certificate("omni signer", leaf.public_key(), authority=False),
        certificate("omni authority", root.public_key(), authority=True),
    ]
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    private = leaf.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, private
