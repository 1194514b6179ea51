-- Health of a PretrainJob for Argo CD. Put it into argocd-cm under
-- resource.customizations.health.perigee.dev_PretrainJob, or into
-- resource_customizations/perigee.dev/PretrainJob/health.lua of Argo CD itself.
local hs = {status = "Progressing", message = "Waiting for the operator"}
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
if obj.metadata.generation ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  hs.message = "Waiting for the operator to see this generation"
  return hs
end
local holds = {}
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Ready" then
    hs.message = condition.reason .. ": " .. condition.message
  end
  holds[condition.type] = condition.status == "True"
end
if holds["Failed"] or holds["Stalled"] then
  hs.status = "Degraded"
elseif holds["Suspended"] then
  hs.status = "Suspended"
elseif holds["Ready"] then
  hs.status = "Healthy"
end
return hs
