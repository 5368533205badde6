"""Tasks: the same meaning given in one modality and wanted in another, as training sequences over prepared items."""
