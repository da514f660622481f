"""Pages for people: of a finished run and of a data set, and the scores they show."""
