"""What virsh prints, as Python values."""
import re

import helpers


def pairs(text, separator=":"):
    """Lines such as `Name:  x` as a dictionary; of equal keys the last wins."""
    found = {}
    for line in text.splitlines():
        key, mark, value = line.partition(separator)
        if mark:
            found[key.strip()] = value.strip()
    return found


def table(text):
    """Rows of a table with a header and a line of dashes: lists of cells."""
    lines = text.splitlines()
    rule = next((number for number, line in enumerate(lines) if set(line.strip()) == {"-"}), -1)
    return [re.split(r"\s{2,}", line.strip()) for line in lines[rule + 1:] if line.strip()]


def words(text):
    """Lines of two words, such as those of domblkstat and dommemstat: the last word by the one before."""
    return {line.split()[-2]: line.split()[-1] for line in text.splitlines() if line.split()}


def stats(text):
    """Output of domstats: a dictionary of fields for each domain."""
    found = {}
    for line in text.splitlines():
        if line.startswith("Domain: "):
            fields = found.setdefault(line[9:-1], {})
        elif "=" in line:
            key, _, value = line.strip().partition("=")
            fields[key] = value
    return found


def told(*args, uri=helpers.URI):
    """Everything virsh prints for a user, including headers and confirmations."""
    return helpers.run("virsh", "-c", uri, *args).stdout
