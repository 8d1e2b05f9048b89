"""Small models of our own, trained by commands of this repository, whose weights come with the package."""
