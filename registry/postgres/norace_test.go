//go:build !race

package postgres

const manySchedules = 10_000
