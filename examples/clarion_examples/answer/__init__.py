"""Answers that grow: a page that shows a text while a program writes it."""
