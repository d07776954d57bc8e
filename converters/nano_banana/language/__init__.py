"""Edit instructions made from lexicons: phrase lists per language, a grammar that combines them into whole
instructions with their plan, and the noise of hurried typing. No network and no photos here."""
