package store

import "io/fs"

// WithMigrations replaces the migrations, as another release has them.
func WithMigrations(files fs.FS) Option { return func(o *options) { o.files = files } }
