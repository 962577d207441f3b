//go:build race

package test

const manyLosses = 20 // each is opened by a SQLite that is a dozen times slower

// settles: tests have so many changes in a database that the server moves them.
const settles = false // to load them takes too long
