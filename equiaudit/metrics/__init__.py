"""What is computed from predictions: per-image figures, intervals, maps. numpy and scipy only."""
