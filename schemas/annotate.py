"""Tables of the annotate stage: who spoke when, in which turn, and what happened between the turns."""

import pyarrow as pa

from schemas.fields import (
    CONFIDENCE,
    END_MS,
    MS,
    PARTICIPANT,
    RULE_VERSION,
    SESSION,
    START_MS,
    TEXT,
    UNIT,
    Table,
    field,
)

BLEED = Table(
    name="bleed",
    stage="annotate",
    meaning="How one participant's voice reaches another's track, stretch by stretch. Stretches cover the session.",
    key=("session_id", "participant", "other", "start_ms"),
    fields=(
        SESSION,
        PARTICIPANT,
        field("other", TEXT, "the participant whose voice it is"),
        START_MS,
        END_MS,
        field(
            "verdict",
            TEXT,
            "none: the voice is not heard in this track; heard; or why no one can tell whose voice it is: same_sound "
            "(one path explains both tracks), no_owner (much of the sound is neither one's voice), both_active (both "
            "seem to speak for longer than people do)",
        ),
        field(
            "level_db",
            pa.float32(),
            "level of the voice in this track, relative to that voice in its own track; null: not heard or not known",
            unit="dB",
            nullable=True,
        ),
        field(
            "delay_ms",
            pa.float32(),
            "how much later it arrives than in its own track; null: not heard or not known",
            unit="ms",
            nullable=True,
        ),
    ),
)

SPEECH = Table(
    name="speech",
    stage="annotate",
    meaning="Voice activity of one participant, without sounds that are known not to be speech.",
    key=("session_id", "participant", "start_ms"),
    fields=(
        SESSION,
        PARTICIPANT,
        START_MS,
        END_MS,
        field("source", TEXT, "the detector: silero or pyannote; or person: a person has put it there"),
        CONFIDENCE,
    ),
)

WORDS = Table(
    name="words",
    stage="annotate",
    meaning="Words of one participant with their times. Tags of sounds are in `events`.",
    key=("session_id", "participant", "start_ms", "index"),
    fields=(
        SESSION,
        PARTICIPANT,
        START_MS,
        END_MS,
        field("index", pa.int32(), "position of the word in the participant's words"),
        field("word", TEXT, "as written, with its punctuation"),
        field(
            "source",
            TEXT,
            "origin of the words: sidecar; whisperx (Whisper's words, an aligner's times); whisper (its words and "
            "times, which are less exact); person: corrected by a person",
        ),
        field(
            "language",
            TEXT,
            "of the transcript: the manifest's, else as Whisper heard it, else annotate.language",
            nullable=True,
        ),
        CONFIDENCE,
        field(
            "over_silence",
            pa.bool_(),
            "shares no time with detected speech of the participant; null: that speech is not known",
            nullable=True,
        ),
        field(
            "times_fit",
            pa.bool_(),
            "false for all words of a transcript whose times do not fit the speech (rejection "
            "transcript_times_unreliable): the rules do not use it, and pack masks its text",
        ),
    ),
)

IPUS = Table(
    name="ipus",
    stage="annotate",
    meaning="Inter-pausal units: speech of one participant, joined over own silences of at most ipu_gap_ms.",
    key=("session_id", "participant", "start_ms"),
    fields=(
        SESSION,
        PARTICIPANT,
        START_MS,
        END_MS,
        field("short", pa.bool_(), "under 100 ms"),
        field("text", TEXT, "its words; null without a transcript", nullable=True),
        field("candidate", TEXT, "backchannel candidate: lexical, acoustic or none"),
        RULE_VERSION,
    ),
)

TURNS = Table(
    name="turns",
    stage="annotate",
    meaning="IPUs of one participant, joined over own pauses in which the others say only backchannel candidates.",
    key=("session_id", "participant", "start_ms"),
    fields=(
        SESSION,
        PARTICIPANT,
        START_MS,
        END_MS,
        field("is_primary", pa.bool_(), "false: the turn lies completely inside another participant's turn"),
        field("complete", pa.bool_(), "the turn ends a phrase; null: unknown without words", nullable=True),
        field("num_ipus", pa.int32(), "number of IPUs in the turn"),
        field("num_words", pa.int32(), "number of words; null without a transcript", nullable=True),
        RULE_VERSION,
    ),
)

EVENTS = Table(
    name="events",
    stage="annotate",
    meaning="Backchannels, two-party states, floor transitions and non-speech.",
    key=("session_id", "participant", "kind", "start_ms", "end_ms", "label"),
    fields=(
        SESSION,
        PARTICIPANT,
        START_MS,
        END_MS,
        field("kind", TEXT, "backchannel (one row per IPU), state, transition (at a turn's onset) or non_speech"),
        field(
            "label",
            TEXT,
            "state: pause, gap, latch, overlap_within, overlap_between, boundary_ambiguous; "
            "transition: simultaneous_start, initiation, hold, smooth_shift, pause_interruption, terminal_overlap, "
            "interruption; backchannel: lexical or acoustic; "
            "non_speech: laughter, breath, vocal_noise (coughs, lip smacks, ...), noise, bleed (another's voice)",
        ),
        field(
            "outcome",
            TEXT,
            "of an interruption: floor_taking, failed, both_stop; "
            "of a simultaneous start: goes_on, gives_way, both_stop",
            nullable=True,
        ),
        field(
            "other",
            TEXT,
            "another participant. backchannel: who holds the floor; transition: whose turn it follows or overlaps; "
            "state: who speaks after it or at the same time; bleed: whose voice it is",
            nullable=True,
        ),
        field(
            "yield_ms", MS, "end of the incumbent's speech minus onset of the challenger's", unit="ms", nullable=True
        ),
        field("fto_ms", MS, "floor transfer offset; negative: the turns overlap", unit="ms", nullable=True),
        field("source", TEXT, "what the decision is based on: words, timing or audio; or person: a correction"),
        CONFIDENCE,
        RULE_VERSION,
    ),
)

UNITS = Table(
    name="units",
    stage="annotate",
    meaning="Labels of one participant in one 160 ms unit, for training and evaluation.",
    key=("session_id", "participant", "unit"),
    fields=(
        SESSION,
        PARTICIPANT,
        field("unit", UNIT, "index on the session clock", unit="160 ms"),
        field(
            "speech_ms",
            pa.int16(),
            "own speech in the unit, 0 to 160; null: cannot be attributed to a participant",
            unit="ms",
            nullable=True,
        ),
        field("holds_floor", pa.bool_(), "holds the floor at the end of the unit"),
        field(
            "turn_begins_in",
            UNIT,
            "units until the next primary turn of this participant begins; 0: in this unit; null: never",
            unit="160 ms",
            nullable=True,
        ),
        field(
            "turn_ends_in",
            UNIT,
            "units until the next primary turn of this participant ends; 0: in this unit; null: never",
            unit="160 ms",
            nullable=True,
        ),
        field("interruption_role", TEXT, "challenger or incumbent during an interruption", nullable=True),
        field("backchannel", pa.bool_(), "a backchannel of this participant is partly or wholly in the unit"),
        field(
            "silence_ms",
            MS,
            "time from the end of own speech to the end of the unit; null before any own speech",
            unit="ms",
            nullable=True,
        ),
        field(
            "audio_mixed",
            pa.bool_(),
            "the track's audio contains several participants in this unit, or no one can tell whose voice it is",
        ),
        field(
            "bleed_db",
            pa.float32(),
            "level of the loudest other voice that reaches this track, relative to that voice in its own track; null: "
            "none does",
            unit="dB",
            nullable=True,
        ),
        field("bleed_heard", pa.bool_(), "another voice, or its echo, is heard in this unit of the track"),
        field(
            "non_speech", pa.bool_(), "laughter, breath or noise of this participant is partly or wholly in the unit"
        ),
        field(
            "video_visible",
            pa.bool_(),
            "the video shows the participant in all of the unit; null: no video",
            nullable=True,
        ),
    ),
)
