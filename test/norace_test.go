//go:build !race

package test

const manyLosses = 80
