# Two images from one file:
#   docker build -t freshet .                          everything in one container (npm start); the default
#     docker run -p 3000:3000 -v freshet:/data freshet
#   docker build -t freshet-service --target service . one process of a deployment, stores elsewhere: docker-compose.yml
#     docker run … freshet-service node api/main.ts | node workers/main.ts | node cli/main.ts <command>
FROM node:24.21.0-bookworm-slim AS base

# tini reaps what processes leave behind and passes signals on: a stop is as orderly as Ctrl-C.
RUN apt-get update \
  && apt-get install -y --no-install-recommends tini \
  && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["tini", "--"]

WORKDIR /app
COPY package.json package-lock.json .npmrc ./


FROM base AS service

# Neither the embedded Postgres (optional packages) nor the second Node that package "node" fetches by its script.
RUN npm ci --omit=dev --omit=optional --ignore-scripts && npm cache clean --force
COPY shared shared
COPY observability observability
COPY connectors connectors
COPY api api
COPY workers workers
COPY cli cli
COPY docker/ask.mjs docker/ask.mjs
COPY freshet.config.ts ./

USER node
ENV NODE_ENV=production FRESHET_API_HOST=0.0.0.0
EXPOSE 3000
CMD ["node", "cli/main.ts", "help"]


FROM base AS everything

# The local servers of `freshet up`: Redis from Debian, Postgres by npm, and an account that Postgres may run as.
RUN apt-get update \
  && RUNLEVEL=1 apt-get install -y --no-install-recommends redis-server \
  && rm -rf /var/lib/apt/lists/*
RUN npm ci --include=dev --include=optional && npm cache clean --force
COPY . .

RUN useradd --system --create-home freshet && install -d -o freshet /data
USER freshet
ENV FRESHET_DATA_DIR=/data FRESHET_API_HOST=0.0.0.0
EXPOSE 3000
VOLUME /data
CMD ["node", "start.mjs", "up"]
