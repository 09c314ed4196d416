"""How the page is served: live runs, routes, hosts, endpoints."""
