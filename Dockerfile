# One image, three uses; the command says which:
#   docker run -p 3000:3000 -v freshet:/data …            everything in one container (the default: npm start)
#   docker run … node api/main.ts                         an API process      } with DATABASE_URL, REDIS_URL and
#   docker run … node workers/main.ts                     the worker          } QUEUE_REDIS_URL of your own
FROM node:24-bookworm-slim

# The local servers of `freshet up`: Redis from Debian, Postgres by npm, and an account that Postgres may run as.
RUN apt-get update \
  && RUNLEVEL=1 apt-get install -y --no-install-recommends redis-server tini \
  && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --include=dev --include=optional && npm cache clean --force
COPY . .

RUN useradd --system --create-home freshet && install -d -o freshet /data
USER freshet
ENV FRESHET_DATA_DIR=/data FRESHET_API_HOST=0.0.0.0
EXPOSE 3000
VOLUME /data

# tini reaps what the stores leave behind and passes signals on: a stop is as orderly as Ctrl-C.
ENTRYPOINT ["tini", "--"]
CMD ["node", "start.mjs", "up"]
