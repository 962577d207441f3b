//go:build race

package postgres

// manySchedules: the simulation has no concurrency, and is ten times slower here.
const manySchedules = 1000
