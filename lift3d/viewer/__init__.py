"""What ``lift3d view`` shows: pure computations (cloud, places, answers, looks, stage) and the page that draws them."""
