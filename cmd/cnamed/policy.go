package main

import (
	"log/slog"
	"net"

	"cnamed/config"
	"cnamed/dnsserver"
	"cnamed/httpapi"
)

// apiOptions are the options of the API in front of the zones.
func apiOptions(c *config.Config, zones *dnsserver.ZoneSet, log *slog.Logger) httpapi.Options {
	return httpapi.Options{
		Domain: c.Domain,
		Registration: map[config.RegistrationMode]httpapi.RegistrationMode{
			config.RegistrationOpen:   httpapi.RegistrationOpen,
			config.RegistrationToken:  httpapi.RegistrationToken,
			config.RegistrationClosed: httpapi.RegistrationClosed,
		}[c.API.Registration],
		ChosenNames:    c.API.ChosenNames,
		Reserved:       zones.Reserved,
		RegisterLimit:  httpapi.Rate(c.API.RegisterLimit),
		FailureLimit:   httpapi.Rate(c.API.FailureLimit),
		TrustedProxies: c.API.TrustedProxies,
		ProxyHeader:    httpapi.ProxyHeader(c.API.ProxyHeader),
		CORSOrigins:    c.API.CORSOrigins,
		Log:            log,
	}
}

// behindProxies has the listeners read what proxies say, if they are to say it.
func behindProxies(c *config.Config, listeners []net.Listener, log *slog.Logger) []net.Listener {
	if !c.API.ProxyProtocol {
		return listeners
	}
	var wrapped []net.Listener
	for _, l := range listeners {
		wrapped = append(wrapped, &httpapi.ProxyListener{Listener: l, Trusted: c.API.TrustedProxies, Log: log})
	}
	return wrapped
}
