"""The first hour on a real device: open questions, implementations held against float64, a record for `auto`."""
