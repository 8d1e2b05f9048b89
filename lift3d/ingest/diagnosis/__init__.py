"""What will hurt before anything is lifted: pictures, masks, cameras and depth of a scene held against each other."""
