//go:build !race

package test

const manyLosses = 80

// losesSettling: TestNothingIsLostWithThePower looks at the moving, too.
const losesSettling = true
