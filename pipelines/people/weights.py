"""Hashes of the weights that the stage people loads: with other weights, recordings are looked at again."""

from pathlib import Path

from pipelines.engine.files import file_sha256
from pipelines.people.params import PeopleParams
from pipelines.signals.active_speaker import weights_file
from pipelines.signals.face_embedding import face_weights_file
from pipelines.signals.voice_embedding import embedder_sha256


def weights_of(params: PeopleParams) -> tuple[str, ...]:
    """Raises InputError, which names the setting, for weights that are missing."""
    hashes = [embedder_sha256(params.voice_model)]
    if params.asd_model:
        hashes.append(file_sha256(weights_file(Path(params.asd_model), "people.asd_model")))
    if params.face_model:
        hashes.append(file_sha256(face_weights_file(Path(params.face_model), "people.face_model")))
    return tuple(hashes)
