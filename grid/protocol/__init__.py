"""The stanzas of the grid, both ways: read into immutable records, written as text. No state, no effects."""
