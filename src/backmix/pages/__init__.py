"""The parts that all pages share: templates, charts, pictures and the words of figures; and progress bars."""
