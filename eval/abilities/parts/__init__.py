"""One file a subject: each part asks the model, has somebody else judge the answers, and gives figures."""
