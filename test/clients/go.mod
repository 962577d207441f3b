module cnamed/test/clients

go 1.26.0

require (
	cnamed v0.0.0
	github.com/cert-manager/cert-manager v1.21.2
	github.com/cpu/goacmedns v0.1.1
	github.com/libdns/acmedns v0.5.0
	github.com/libdns/libdns v1.1.0
	github.com/nrdcg/goacmedns v0.2.0
)

require (
	github.com/go-jose/go-jose/v4 v4.1.9 // indirect
	github.com/letsencrypt/challtestsrv v1.4.2 // indirect
	github.com/letsencrypt/pebble/v2 v2.10.1 // indirect
	github.com/miekg/dns v1.1.73 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace cnamed => ../..
