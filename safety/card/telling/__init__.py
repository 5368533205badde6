"""What sections of a card are made of, and the longer ones: data, languages, and what OpenAI published."""
