//go:build !race

package test

const manyLosses = 80

// settles: tests have so many changes in a database that the server moves them.
const settles = true
