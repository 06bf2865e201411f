"""One folder per stage, and the code that stages share: engine, media, formats, signals, conversation.

sources -> tracks -> annotations -> latents -> windows -> model -> figures
"""

from pathlib import Path

__path__.append(str(Path(__file__).parent / "engine" / "renamed"))  # commands under their old names
