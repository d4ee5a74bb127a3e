"""What the manifests and the chart must be like. `../check` runs it."""
