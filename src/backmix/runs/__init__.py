"""Write the folder of a run, read it with checks, and fetch it from the hub."""
