package ca

import (
	"os"
	"strconv"
	"sync"
)

// environment guards the process's environment while Pebble's constructors read it. They read it at no other time.
var environment sync.Mutex

// setEnvironment sets the variables that are Pebble's only way to configure these things. The function that it returns
// puts back what was there.
func setEnvironment(opts Options) (restore func()) {
	reuse := 0
	if opts.ReuseAuthorizations {
		reuse = 100
	}
	environment.Lock()
	undo := []func(){
		setenv("PEBBLE_VA_NOSLEEP", "1"),
		setenv("PEBBLE_VA_ALWAYS_VALID", "0"),
		setenv("PEBBLE_WFE_NONCEREJECT", strconv.Itoa(opts.NonceRejectPercent)),
		setenv("PEBBLE_AUTHZREUSE", strconv.Itoa(reuse)),
	}
	return func() {
		defer environment.Unlock()
		for _, f := range undo {
			f()
		}
	}
}

func setenv(name, value string) (undo func()) {
	old, had := os.LookupEnv(name)
	os.Setenv(name, value) // fails only for names that no variable can have
	return func() {
		if had {
			os.Setenv(name, old)
		} else {
			os.Unsetenv(name)
		}
	}
}
