//go:build race

package test

const manyLosses = 20 // each is opened by a SQLite that is a dozen times slower

// losesSettling: TestNothingIsLostWithThePower looks at the moving, too.
const losesSettling = false // what it opens has too many rows for that
