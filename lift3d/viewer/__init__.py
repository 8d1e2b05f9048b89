"""What ``lift3d view`` shows: pure computations on a viewed scene, and the page that draws them."""
