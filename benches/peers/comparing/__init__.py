"""Running measurements in alternation and writing the page. Standard library only."""
