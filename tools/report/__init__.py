"""A data folder, or two of them side by side, as one HTML page that needs no other file.

sql/          one query per figure; everything that the page says about the data is the answer to one of them
answers.py    runs them on a data folder, as far as its tables are there
sections.py   which figures the page has, in which order, and how each is drawn
humans.py     published figures of human conversation, with their sources
charts.py     bars and histograms as inline SVG
page.py       the page
"""
