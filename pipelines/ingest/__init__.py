"""Sources -> tracks: constant 25 fps video and mono audio per participant, on one clock, in whole units."""
