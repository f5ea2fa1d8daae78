"""RSS 0.9x-2.0, RDF, Atom, CDF and JSON Feed."""
