//go:build race

package test

const manyLosses = 20 // each is opened by a SQLite that is a dozen times slower
