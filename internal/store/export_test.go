package store

import "io/fs"

// WithMigrations replaces the migrations by those of another release.
func WithMigrations(files fs.FS) Option { return func(o *options) { o.files = files } }
