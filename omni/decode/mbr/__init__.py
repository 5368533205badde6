"""Minimum Bayes risk decoding: of many drawn answers, the one that agrees best with all of them."""
