package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"cnamed/config"
)

// defaultConfig is read where no --config is given and it exists.
const defaultConfig = "/etc/cnamed/cnamed.toml"

// settings binds the settings of package config to flags, and remembers who
// gave which.
type settings struct {
	file      string
	overrides map[string]config.Override
}

func (s *settings) addFlags(flags *pflag.FlagSet) {
	s.overrides = map[string]config.Override{}
	flags.StringVarP(&s.file, "config", "c", "", "TOML file with settings (default: "+defaultConfig+" if it exists)")
	for _, setting := range config.Settings() {
		flags.Var(&settingFlag{setting, s.overrides}, setting.Flag(), setting.Usage)
	}
}

// load returns the configuration; its error is of type config.Problems.
func (s *settings) load() (*config.Config, error) {
	path := s.file
	if path == "" {
		if _, err := os.Stat(defaultConfig); !errors.Is(err, fs.ErrNotExist) {
			path = defaultConfig
		}
	}
	c, err := config.Load(path, s.overrides)
	if c.Data == "" {
		c.Data = config.DataFolder()
	}
	return c, err
}

// settingFlag is one setting as a flag. It takes anything: package config judges
// all the values together.
type settingFlag struct {
	setting   config.Setting
	overrides map[string]config.Override
}

func (f *settingFlag) Set(value string) error {
	o := config.Override{From: "--" + f.setting.Flag()}
	if f.setting.List {
		o.Values = f.overrides[f.setting.Key].Values
	}
	o.Values = append(o.Values, value)
	f.overrides[f.setting.Key] = o
	return nil
}

func (f *settingFlag) SetFromEnvironment(variable, value string) error {
	o := config.Override{From: variable, Values: []string{value}}
	if f.setting.List {
		o.Values = splitList(value)
	}
	f.overrides[f.setting.Key] = o
	return nil
}

func (f *settingFlag) String() string {
	if f.setting.List && len(f.setting.Default) > 0 {
		return strings.Join(f.setting.Default, ", ")
	}
	return strings.Join(f.setting.Default, "")
}

func (f *settingFlag) Type() string {
	if f.setting.List {
		return "value (repeatable)"
	}
	return "value"
}
