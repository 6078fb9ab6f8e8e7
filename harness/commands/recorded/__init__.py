"""What the commands that give verdicts share: the options of records, shards and formats, and runs on other machines."""
